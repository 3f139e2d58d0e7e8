//! dialtone: a fire-and-forget subject bus that speaks the NATS protocol.
