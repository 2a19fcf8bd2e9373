"""Read physiological sensors: one Driver over sans-io codecs and exchangeable links."""
