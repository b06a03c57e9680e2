"""Brings the contexts together: every table, every subscription and every task of the product."""

import billing.handlers
import billing.tables
import billing.tasks
import infra.outbox.tables
import infra.outbox.tasks
import monitoring.tasks
import portal_api.identity.tables
import scheduler.handlers
import scheduler.tables
import scheduler.tasks

HANDLERS = (scheduler.handlers, billing.handlers)
TASKS = (infra.outbox.tasks, scheduler.tasks, billing.tasks, monitoring.tasks)
TABLES = (infra.outbox.tables, portal_api.identity.tables, scheduler.tables, billing.tables)
