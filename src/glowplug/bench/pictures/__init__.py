"""Pictures by what they show. matplotlib is the extra `plots`, imported only when one is drawn."""
