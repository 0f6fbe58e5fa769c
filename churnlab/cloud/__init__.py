"""`churnlab cloud`: from what Terraform made to runs, their costs, and back to nothing."""
