"""GraphQL over the same services as REST: queries and mutations by POST, subscriptions by graphql-transport-ws."""
