"""The last seconds of every service, drawn without a collector: `/debug/timeline`.

collection ── asks each living service for its spans ──▶ rows ──▶ lanes ──▶ trace ──▶ the page, or Perfetto
"""
