//! AWS Signature Version 4: checked in headers, made for our own client.
