select switchyard.lane_report()
