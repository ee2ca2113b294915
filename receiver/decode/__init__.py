"""A request's body to decoded records: inflated, limited, checked record by record."""
