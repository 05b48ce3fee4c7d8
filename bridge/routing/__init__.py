"""Who should get this call: candidates, their order, the fallback, and the reason in words. Pure."""
