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

  # Without a bound, RunInstances is tried again for most of an hour where a zone has no capacity left:
  # https://github.com/hashicorp/terraform-provider-aws/issues/43193
  # Ten tries end within two minutes. Four are too few for an API that throttles: of some hundred calls that fail
  # three times in ten, one fails four times in a row.
  max_retries = 10

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
