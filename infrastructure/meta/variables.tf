variable "owner" {
  description = "Who the orchestrator belongs to; one orchestrator an owner."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,40}$", var.owner))
    error_message = "An owner is 1 to 40 letters, digits, - and _."
  }
}

variable "bench_version" {
  description = "Version of the binary; a master of another version replaces the instance."
  type        = string
}

variable "arch" {
  description = "Architecture of the binary, and so of the instance: arm64 or x86_64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.arch)
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "binary_path" {
  description = "File on the master's machine: the bench that becomes the orchestrator."
  type        = string
}

variable "binary_sha256" {
  description = "Its SHA-256, hexadecimal; the instance starts nothing else."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.binary_sha256))
    error_message = "A SHA-256 is 64 hexadecimal digits."
  }
}

variable "admin_key" {
  description = "Key of the masters."
  type        = string
  sensitive   = true
}

variable "tls_certificate" {
  description = "Certificate of the orchestrator, PEM."
  type        = string
}

variable "tls_key" {
  description = "Its private key, PEM."
  type        = string
  sensitive   = true
}

variable "orchestrator_pin" {
  description = "SHA-256 of the certificate's public key, as `curl --pinnedpubkey` takes it."
  type        = string
}

variable "generation" {
  description = "Counts the machines that were there and did not answer: another one replaces the machine."
  type        = number
  default     = 0
}

variable "tags" {
  description = "Further tags of every resource."
  type        = map(string)
  default     = {}
}

variable "region" {
  description = "Region of the orchestrator."
  type        = string
  default     = "us-east-1"
}

variable "profile" {
  description = "Profile of the shared AWS configuration."
  type        = string
  default     = null
}

variable "instance_type" {
  description = "Instance type; without it, a small one of the binary's architecture."
  type        = string
  default     = null
}

variable "root_volume_gib" {
  description = "Size of the root volume, GiB; it holds the orchestrator's database."
  type        = number
  default     = 16
}

variable "idle_minutes" {
  description = "The orchestrator ends itself after this long without a run."
  type        = number
  default     = 240

  validation {
    condition     = var.idle_minutes >= 1
    error_message = "The orchestrator is idle for at least one minute before it ends."
  }
}

variable "results_days" {
  description = "Results stay in the bucket for this long."
  type        = number
  default     = 30
}
