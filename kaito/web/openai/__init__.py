"""OpenAI's wire format: requests as they come, answers as they go, errors in their envelope."""
