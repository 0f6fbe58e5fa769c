provider "google" {
  project = var.project_id
  region  = var.region
  zone    = var.zone

  default_labels = local.labels

  # Some APIs, the budget's among them, want to know whose quota a person's call counts on.
  # https://registry.terraform.io/providers/hashicorp/google/latest/docs/resources/billing_budget
  billing_project       = var.project_id
  user_project_override = var.create_budget || var.kms_key != ""
}
