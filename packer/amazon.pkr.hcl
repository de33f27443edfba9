source "amazon-ebs" "spin" {
  region                 = var.region
  custom_endpoint_ec2    = var.ec2_endpoint
  skip_region_validation = true

  source_ami    = var.source_ami
  instance_type = var.instance_type
  subnet_id     = var.subnet_id

  ami_name        = "${var.name}-instance-${local.image_tag}"
  ami_description = "Serves a WebAssembly app from a share with the runtime that its tags name"
  # Another image of the same content is replaced.
  force_deregister      = true
  force_delete_snapshot = true
  tags                  = local.tags
  snapshot_tags         = local.tags
  run_tags              = merge(var.tags, { Name = "${var.name}-bake" })
  run_volume_tags       = var.tags

  # Servers of today refuse the older RSA signatures that Packer 1.6 makes.
  temporary_key_pair_type   = "ed25519"
  communicator              = "ssh"
  ssh_username              = var.ssh_username
  ssh_clear_authorized_keys = true
}
