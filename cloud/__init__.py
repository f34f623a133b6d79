"""The cloud side: keeps each company's copy, serves applications, queues their changes for the agent."""
