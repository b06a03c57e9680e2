"""The routes by noun: who calls is in the signature, what happens in the services, what is answered in the views."""
