"""The example: three hubs that publish, pay and clear through LocalPay, and how one is written."""
