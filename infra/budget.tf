# A budget writes e-mails; it stops nothing.
resource "google_monitoring_notification_channel" "budget" {
  count = var.create_budget && var.budget_email != "" ? 1 : 0

  display_name = "${var.prefix} budget"
  type         = "email"
  labels       = { email_address = var.budget_email }

  depends_on = [google_project_service.apis]
}

resource "google_billing_budget" "course" {
  count = var.create_budget ? 1 : 0

  billing_account = var.billing_account
  display_name    = "${var.prefix} in ${var.project_id}"

  budget_filter {
    projects               = ["projects/${data.google_project.course[0].number}"]
    credit_types_treatment = "INCLUDE_ALL_CREDITS"
  }

  amount {
    specified_amount {
      units = tostring(var.budget_amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  # What the month will have cost if it goes on like this.
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  # Without a channel, the administrators of the billing account have the e-mails.
  dynamic "all_updates_rule" {
    for_each = length(google_monitoring_notification_channel.budget) == 0 ? [] : [true]
    content {
      monitoring_notification_channels = google_monitoring_notification_channel.budget[*].name
    }
  }

  depends_on = [google_project_service.apis]
}
