"""The buses: Celery for tasks, and the usage bus that carries signed reports to billing."""
