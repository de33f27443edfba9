build {
  sources = ["source.amazon-ebs.spin", "source.docker.spin"]

  provisioner "shell" {
    only   = ["docker.spin"]
    inline = ["apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3 >/dev/null"]
  }

  provisioner "ansible" {
    only             = ["amazon-ebs.spin"]
    playbook_file    = "${path.root}/playbook.yml"
    use_proxy        = false
    user             = var.ssh_username
    ansible_env_vars = ["ANSIBLE_HOST_KEY_CHECKING=false", "ANSIBLE_PIPELINING=true", "ANSIBLE_NOCOLOR=true"]
    extra_arguments = [
      "--become",
      "--extra-vars", "@${var.role_variables}",
      "--extra-vars", "image_runtime=${var.runtime} runtime_host_share_type=efs",
    ]
  }

  # Over the Docker engine: the SSH server that Packer 1.6 puts in between speaks too old a dialect.
  provisioner "ansible" {
    only             = ["docker.spin"]
    playbook_file    = "${path.root}/playbook.yml"
    ansible_env_vars = ["ANSIBLE_PIPELINING=true", "ANSIBLE_NOCOLOR=true"]
    extra_arguments = [
      "--extra-vars", "@${var.role_variables}",
      "--extra-vars", "image_runtime=${var.runtime}",
      "--extra-vars", "ansible_connection=community.docker.docker ansible_host=${build.ID} ansible_user=root",
    ]
  }

  provisioner "shell" {
    only   = ["docker.spin"]
    inline = ["apt-get -qq purge --auto-remove --yes python3 >/dev/null"]
  }

  provisioner "shell" {
    script          = "${path.root}/clean"
    execute_command = "$(command -v sudo) sh {{ .Path }}"
  }

  # What fails here is not kept.
  provisioner "shell-local" {
    only = ["amazon-ebs.spin"]
    environment_vars = [
      "KEY=${build.SSHPrivateKey}",
      "MACHINE=${build.User}@${build.Host}:${build.Port}",
      "TESTS=${path.root}/../molecule/tests",
    ]
    script = "${path.root}/tests/over-ssh"
  }

  provisioner "shell-local" {
    only   = ["docker.spin"]
    inline = ["pytest --quiet -p no:cacheprovider --state=installed --hosts=docker://${build.ID} ${path.root}/../molecule/tests"]
  }

  post-processor "docker-tag" {
    only       = ["docker.spin"]
    repository = "${var.name}/spin"
    tag        = [local.image_tag]
  }

  post-processor "manifest" {
    output = var.manifest
    custom_data = merge(var.versions, {
      architecture = var.architecture
      content      = var.content_hash
      source_ami   = var.source_ami
      docker_base  = var.docker_base
    })
  }
}
