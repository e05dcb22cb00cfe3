terraform {
  required_version = ">= 1.5.0, < 2.0.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region  = var.region
  profile = var.profile

  # Without this, RunInstances is tried again for most of an hour where a zone has no capacity left:
  # https://github.com/hashicorp/terraform-provider-aws/issues/43193
  max_retries = 4

  default_tags {
    tags = local.tags
  }
}

data "terraform_remote_state" "meta" {
  backend = "local"

  config = {
    path = var.meta_state_path
  }
}
