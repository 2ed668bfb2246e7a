// Batch-norm coefficients of one vector of channels, from the bindings of the kernel:
// moments [2, columns]: mean, variance. affine [2, columns]: scale, shift.

// import batch_norm

fn column_coefficients(column: u32, columns: u32, epsilon: f32) -> Coefficients {
    return coefficients_of(
        moments[column],
        moments[columns + column],
        affine[column],
        affine[columns + column],
        epsilon,
    );
}
