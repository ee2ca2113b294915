"""What operators run beside the bridge: chart, manifests, unit, alerts, dashboards, and the commands that make them."""
