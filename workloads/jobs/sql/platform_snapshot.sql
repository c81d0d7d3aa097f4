select switchyard.platform_snapshot()
