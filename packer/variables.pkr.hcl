# What differs by architecture stands in vars/<architecture>.pkrvars.hcl. playbooks/bake.yml sets the
# rest; `packer build` by hand needs source_ami, runtime and role_variables.
variable "architecture" {
  type        = string
  description = "Architecture of the images: amd64 or arm64."
}

variable "instance_type" {
  type        = string
  description = "Instance on which the AMI is made; must fit the architecture."
}

variable "source_ami" {
  type        = string
  description = "AMI that is built upon."
}

variable "runtime" {
  type        = string
  description = "The runtime's binary for that architecture, beside its record <binary>.origin (role wasm_runtime)."
}

variable "role_variables" {
  type        = string
  description = "YAML or JSON file with variables of the role runtime_host."
}

variable "name" {
  type        = string
  default     = "multicompute"
  description = "What the images' names begin with."
}

variable "content_hash" {
  type        = string
  default     = "unknown"
  description = "Digest of all that goes into the images; packer_build knows an image by it."
}

variable "versions" {
  type        = map(string)
  default     = {}
  description = "Versions of what is in the images, for their tags and the manifest."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "More tags of the AMI, its snapshot, and the instance that it is made on."
}

variable "manifest" {
  type        = string
  default     = "packer-manifest.json"
  description = "File that lists what was made."
}

variable "region" {
  type        = string
  default     = "us-east-1"
  description = "Region of the AMI."
}

variable "ec2_endpoint" {
  type        = string
  default     = ""
  description = "Another address of the EC2 API than AWS's."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Public subnet to make the AMI in; empty for the default VPC's."
}

variable "ssh_username" {
  type        = string
  default     = "ec2-user"
  description = "User of the source AMI who logs in with a key and may use sudo."
}

variable "docker_base" {
  type        = string
  default     = "debian:trixie-slim"
  description = "Debian image that the container image is made on."
}

variable "docker_pull" {
  type        = bool
  default     = true
  description = "Whether to ask the registry for that image."
}

locals {
  # An AMI's name says what is in it, as its tag does.
  image_tag = "${var.architecture}-${substr("${var.content_hash}000000000000", 0, 12)}"

  tags = merge(var.tags, { for name, version in var.versions : "multicompute:${name}" => version }, {
    Name                      = "${var.name}-instance-${local.image_tag}"
    "multicompute:image"      = "instance"
    "multicompute:content"    = var.content_hash
    "multicompute:source-ami" = var.source_ami
  })
}
