select switchyard.worker_report()
