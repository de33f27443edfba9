# What Packer can build without plugins, an account or an engine.
variable "content_hash" {
  type = string
}

variable "target" {
  type = string
}

source "file" "probe" {
  content = var.content_hash
  target  = var.target
}

build {
  sources = ["source.file.probe"]
}
