# An e-mail when a scored batch has moved, when the model should be trained anew, or when nobody has watched.

locals {
  # Where the line is said: by the monitoring batch itself, and by the DAG that answers it.
  # https://docs.cloud.google.com/dataproc-serverless/docs/guides/monitor-troubleshoot-batches and
  # https://docs.cloud.google.com/composer/docs/composer-3/view-logs (accessed 2026-11-29)
  alarm_sources = var.alarm_email == "" ? [] : concat(
    ["cloud_dataproc_batch"],
    var.create_composer ? ["cloud_composer_environment"] : [],
  )
  # What scripts_generated/monitoring.py and scoring_dag.py write after "monitoring:"; "fine" is no alarm.
  alarm_verdicts = ["alert", "retrain", "unwatched"]
}

resource "google_logging_metric" "alarms" {
  count = var.alarm_email == "" ? 0 : 1

  name        = "${var.prefix}-alarms"
  description = "Lines in which monitoring, or the scoring DAG, says that something is not fine."
  # A text in quotes without a field is looked for in all of an entry, whatever its payload is:
  # https://docs.cloud.google.com/logging/docs/view/logging-query-language (accessed 2026-11-29)
  filter = join(" AND ", [
    "resource.type=(${join(" OR ", [for source in local.alarm_sources : "\"${source}\""])})",
    "(${join(" OR ", [for verdict in local.alarm_verdicts : "\"monitoring: ${verdict}\""])})",
  ])

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_notification_channel" "alarms" {
  count = var.alarm_email == "" ? 0 : 1

  display_name = "${var.prefix} alarms"
  type         = "email"
  labels       = { email_address = var.alarm_email }

  depends_on = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "alarms" {
  count = var.alarm_email == "" ? 0 : 1

  display_name          = "${var.prefix} alarms"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = google_monitoring_notification_channel.alarms[*].name
  user_labels           = local.labels

  # A condition looks at one type of resource.
  dynamic "conditions" {
    for_each = local.alarm_sources
    content {
      display_name = "an alarm in the log of ${conditions.value}"
      condition_threshold {
        filter          = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.alarms[0].name}\" AND resource.type=\"${conditions.value}\""
        comparison      = "COMPARISON_GT"
        threshold_value = 0
        duration        = "0s"

        aggregations {
          alignment_period   = "300s"
          per_series_aligner = "ALIGN_SUM"
        }
      }
    }
  }

  # One alarm is one e-mail, or two with Composer: the batch says it, and so does the DAG that answers
  # it. The next day's is another.
  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A scored batch is not fine. `churnlab alarms` says what has moved, and what came of it; the files are in ${local.lake_uri}/alarms/."
  }
}
