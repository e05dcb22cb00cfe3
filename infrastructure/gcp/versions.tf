terraform {
  required_version = ">= 1.5.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "6.50.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

data "terraform_remote_state" "meta" {
  backend = "local"

  config = {
    path = var.meta_state_path
  }
}
