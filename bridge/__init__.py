"""Asterisk Bridge: one service between telephone exchanges and the CRMs their owners work in."""
