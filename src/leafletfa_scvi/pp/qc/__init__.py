"""Quality metrics, filters and variable ATSEs."""
