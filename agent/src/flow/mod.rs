//! From events to calls: the table of flows, ordered bytes with located holes,
//! the binding of TLS sessions to sockets, and the joining of a call's two ends.
