"""What every part of LocalPay stands on."""
