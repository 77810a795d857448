"""Grafana dashboards as code: what is on them is said here, their JSON is made."""
