locals {
  # Where Private Google Access leads inside a service perimeter, and the names that have to lead there:
  # https://docs.cloud.google.com/vpc/docs/configure-private-google-access and, for Workbench,
  # https://docs.cloud.google.com/gemini-enterprise-agent-platform/notebooks/workbench/instances/create#network-options
  # (accessed 2026-11-24)
  restricted_addresses = [for host in range(4) : cidrhost("199.36.153.4/30", host)]
  restricted_domains = var.restricted_apis ? toset([
    "gcr.io",
    "googleapis.com",
    "kernels.googleusercontent.com",
    "notebooks.byoid.googleusercontent.com",
    "notebooks.cloud.google.com",
    "notebooks.googleusercontent.com",
    "pkg.dev",
  ]) : toset([])
}

resource "google_compute_network" "course" {
  name                    = var.prefix
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

resource "google_compute_subnetwork" "spark" {
  name          = "${var.prefix}-spark"
  network       = google_compute_network.course.id
  region        = var.region
  ip_cidr_range = var.subnet_cidr
  # No machine here has a public address; this is their way to Google's APIs.
  private_ip_google_access = true
}

# The driver and the executors of a batch talk to each other on any port:
# https://docs.cloud.google.com/dataproc-serverless/docs/concepts/network (accessed 2026-11-24)
resource "google_compute_firewall" "internal" {
  name               = "${var.prefix}-internal"
  description        = "Spark's driver and executors, within the subnet only."
  network            = google_compute_network.course.id
  direction          = "INGRESS"
  source_ranges      = [var.subnet_cidr]
  destination_ranges = [var.subnet_cidr]

  allow {
    protocol = "all"
  }
}

resource "google_compute_router" "nat" {
  count = var.create_nat ? 1 : 0

  name    = "${var.prefix}-nat"
  network = google_compute_network.course.id
  region  = var.region
}

resource "google_compute_router_nat" "nat" {
  count = var.create_nat ? 1 : 0

  name                               = "${var.prefix}-nat"
  router                             = google_compute_router.nat[0].name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.spark.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}

resource "google_dns_managed_zone" "restricted" {
  for_each = local.restricted_domains

  name        = "${var.prefix}-${replace(each.value, ".", "-")}"
  dns_name    = "${each.value}."
  description = "Google's APIs by the address that stays inside a service perimeter."
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.course.id
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_dns_record_set" "restricted" {
  for_each = { for pair in setproduct(local.restricted_domains, ["", "*."]) : join("", reverse(pair)) => pair[0] }

  managed_zone = google_dns_managed_zone.restricted[each.value].name
  name         = "${each.key}."
  type         = "A"
  ttl          = 300
  rrdatas      = local.restricted_addresses
}
