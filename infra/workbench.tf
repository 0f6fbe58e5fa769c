# JupyterLab on a machine without a public address. It reaches Google's services, its own proxy among
# them, by Private Google Access; the internet only with create_nat.
# https://docs.cloud.google.com/gemini-enterprise-agent-platform/notebooks/workbench/instances/create#network-options
resource "google_workbench_instance" "notebooks" {
  count = var.create_workbench ? 1 : 0

  name     = "${var.prefix}-notebooks"
  location = var.zone

  gce_setup {
    machine_type      = var.workbench_machine_type
    disable_public_ip = true

    vm_image {
      project = "cloud-notebooks-managed"
      family  = local.products.workbench_image.version
    }

    boot_disk {
      disk_size_gb    = "150"
      disk_type       = "PD_BALANCED"
      disk_encryption = var.kms_key == "" ? "GMEK" : "CMEK"
      kms_key         = local.kms_key
    }

    data_disks {
      disk_size_gb    = "100"
      disk_type       = "PD_BALANCED"
      disk_encryption = var.kms_key == "" ? "GMEK" : "CMEK"
      kms_key         = local.kms_key
    }

    network_interfaces {
      network = google_compute_network.course.id
      subnet  = google_compute_subnetwork.spark.id
    }

    # Without instance_owners, who may act as this account may open JupyterLab.
    service_accounts {
      email = google_service_account.accounts["author"].email
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_vtpm                 = true
      enable_integrity_monitoring = true
    }

    # https://docs.cloud.google.com/gemini-enterprise-agent-platform/notebooks/workbench/instances/manage-metadata
    metadata = {
      disable-mixer                = "false" # the Spark kernels
      idle-timeout-seconds         = tostring(var.idle_minutes * 60)
      notebook-disable-root        = "true"
      post-startup-script          = "gs://${google_storage_bucket.buckets["code"].name}/${google_storage_bucket_object.workbench_start.name}"
      post-startup-script-behavior = "download_and_run_every_start"
    }
  }

  # Its start script brings the notebooks, as the author's account.
  depends_on = [
    google_compute_firewall.internal,
    google_compute_router_nat.nat,
    google_dns_record_set.restricted,
    google_storage_bucket_object.notebooks,
    time_sleep.roles,
  ]
}
