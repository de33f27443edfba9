# A machine image build that is still busy when the test ends it.
variable "content_hash" {
  type = string
}

variable "ec2_endpoint" {
  type = string
}

variable "source_ami" {
  type = string
}

source "amazon-ebs" "probe" {
  region                  = "eu-central-1"
  custom_endpoint_ec2     = var.ec2_endpoint
  skip_region_validation  = true
  source_ami              = var.source_ami
  instance_type           = "t3.micro"
  ami_name                = "probe-${var.content_hash}"
  temporary_key_pair_type = "ed25519"
  communicator            = "ssh"
  ssh_username            = "admin"
}

build {
  sources = ["source.amazon-ebs.probe"]

  provisioner "shell" {
    inline = ["sleep 300"]
  }
}
