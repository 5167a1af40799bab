"""Reports as single HTML files: no scripts, nothing loaded from outside, every text escaped."""

from facesearch.evaluation.pages.audit import AuditPair, audit_page
from facesearch.evaluation.pages.comparison import comparison_page
from facesearch.evaluation.pages.identification import identification_page
from facesearch.evaluation.pages.verification import verification_page

__all__ = ["AuditPair", "audit_page", "comparison_page", "identification_page", "verification_page"]
