"""Workers as functions of AWS Lambda: what is uploaded, the entry that Lambda calls, and who invokes it."""
