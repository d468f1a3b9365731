/* needs: exponential_double */
static double sigmoid_double(double x) { return 1.0 / (1.0 + exponential_double(-x)); }
