// Matrices of 8 rows and columns with operands in single precision: a form of the interface
// `matrix_form`.

enable wgpu_cooperative_matrix;

// Rows and columns of a matrix.
const SIZE: u32 = 8u;

alias Operand = f32;
alias Left = coop_mat8x8<Operand, A>;
alias Right = coop_mat8x8<Operand, B>;
alias Sum = coop_mat8x8<f32, C>;
