# What the master gives every backend.

variable "run_id" {
  description = "Name of the run."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", var.run_id))
    error_message = "A run id is 1 to 40 characters from a-z, 0-9 and -, with no dash at either end."
  }
}

variable "owner" {
  description = "Who the resources belong to: the sweep deletes nothing that carries another owner."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9_-]{1,63}$", var.owner))
    error_message = "Labels take a-z, 0-9, - and _ only: choose such an owner (--owner, BENCH_OWNER)."
  }
}

variable "backend" {
  description = "Name of this folder."
  type        = string
  default     = "gcp"
}

variable "provider_name" {
  description = "Name of the provider instance: in claims, tags and results."
  type        = string
}

variable "instance_types" {
  description = "The instance types of this provider instance, one entry an alias."
  type = list(object({
    instance_type       = string
    alias               = string
    arch                = string
    spot                = optional(bool, false)
    max_price_usd_per_h = optional(number)
  }))

  validation {
    condition     = alltrue([for t in var.instance_types : contains(["arm64", "x86_64"], t.arch)])
    error_message = "The architecture of an instance type is arm64 or x86_64."
  }
}

variable "vcpu_count" {
  description = "Task runners on one host, by alias."
  type        = map(number)
}

variable "instance_count" {
  description = "Hosts, by alias."
  type        = map(number)
}

variable "runner" {
  description = "How a host gets its task runner: pulled image, image built from a repo, or the binary."
  type = object({
    mode     = string
    image    = optional(string, "")
    repo     = optional(string, "")
    ref      = optional(string, "")
    binaries = optional(map(object({ url = string, sha256 = string })), {})
  })
}

variable "run_key" {
  description = "Key that can only claim and report for this run."
  type        = string
  sensitive   = true
}

variable "ruby_version" {
  description = "Ruby of the workload; empty where the workload is another."
  type        = string
  default     = ""
}

variable "mock_benchmark" {
  description = "Replace the workload by a quick deterministic one."
  type        = bool
  default     = false
}

variable "debug_mode" {
  description = "Verbose runners that stay, and keep their host until its deadline."
  type        = bool
  default     = false
}

variable "ttl_minutes" {
  description = "Longest life of a host, counted from its boot."
  type        = number

  validation {
    condition     = var.ttl_minutes >= 1
    error_message = "A host lives for at least one minute."
  }
}

variable "expires_at" {
  description = "Deadline of everything here, seconds since 1970."
  type        = number
}

variable "tags" {
  description = "Further tags of every resource."
  type        = map(string)
  default     = {}
}

variable "meta_state_path" {
  description = "Terraform state with the outputs orchestrator_url and orchestrator_pin."
  type        = string
}

# Settings of a provider instance: provider.json says the same.

variable "project" {
  description = "Project that pays; without it, the one of GOOGLE_PROJECT."
  type        = string
  default     = null
}

variable "region" {
  description = "Region in which machines are made."
  type        = string
  default     = "us-central1"
}

variable "zone" {
  description = "Zone in which machines are made; without it, the region's first."
  type        = string
  default     = null
}

variable "boot_disk_gib" {
  description = "Size of the boot disk, GiB."
  type        = number
  default     = 20
}

variable "ssh_cidr" {
  description = "Addresses that may connect over SSH; empty: none."
  type        = string
  default     = ""
}

variable "ssh_public_key" {
  description = "Public key to be let in with; needed with ssh_cidr."
  type        = string
  default     = ""
}
