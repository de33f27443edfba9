# As short as it can be: what the container build does is up to `script`.
variable "content_hash" {
  type = string
}

variable "script" {
  type = string
}

variable "image" {
  type = string
}

source "docker" "probe" {
  image       = "debian:trixie-slim"
  pull        = false
  commit      = true
  run_command = ["-d", "-i", "-t", "--entrypoint=/bin/sh", "--", "{{ .Image }}"]
  changes     = ["LABEL multicompute:content=${var.content_hash}"]
}

build {
  sources = ["source.docker.probe"]

  provisioner "shell" {
    inline = ["echo the step before"]
  }

  provisioner "shell" {
    inline = [var.script]
  }

  post-processor "docker-tag" {
    repository = var.image
    tag        = ["1"]
  }
}
