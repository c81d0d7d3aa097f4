select switchyard.session_report()
