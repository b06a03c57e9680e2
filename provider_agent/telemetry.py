"""What the agent counts of its talk with the portal."""

from prometheus_client import Counter

POLLS = Counter("gridbay_agent_polls", "Long polls, by whether the portal answered.", ("outcome",))
REPORTS = Counter("gridbay_agent_reports", "Signed reports: taken, unanswered or refused.", ("outcome",))
