"""The sandbox: what stands between a customer's command and the host it runs on."""
