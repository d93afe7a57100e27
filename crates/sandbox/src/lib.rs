//! One command of reimage in Linux namespaces.
