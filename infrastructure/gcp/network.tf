# A network of its own for each run and provider instance. Networks, subnetworks and firewall rules carry no labels:
# their description holds the same, and the sweep reads it from there.

data "google_compute_zones" "up" {
  region = var.region
  status = "UP"
}

locals {
  zone        = var.zone != null ? var.zone : data.google_compute_zones.up.names[0]
  description = join(";", [for key, value in local.labels : "${key}=${value}"])
}

resource "google_compute_network" "run" {
  name                    = local.name
  description             = local.description
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "hosts" {
  name          = local.name
  description   = local.description
  region        = var.region
  network       = google_compute_network.run.id
  ip_cidr_range = "10.0.0.0/20"
}

# A network lets nobody in and everybody out by itself; this is the way in, where one was asked for.
resource "google_compute_firewall" "ssh" {
  count = var.ssh_cidr == "" ? 0 : 1

  name          = "${local.name}-ssh"
  description   = local.description
  network       = google_compute_network.run.id
  direction     = "INGRESS"
  source_ranges = [var.ssh_cidr]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}
