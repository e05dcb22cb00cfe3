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

  # Bounded, so that missing capacity is said within two minutes; enough for an API that throttles.
  max_retries = 10

  default_tags {
    tags = local.tags
  }
}
