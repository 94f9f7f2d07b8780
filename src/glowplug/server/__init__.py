"""The embedded server: durable deployments, the platform behind the admin interface, start and drain."""
