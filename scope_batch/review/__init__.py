"""Shows a film at a glance: contact sheets and reports."""
