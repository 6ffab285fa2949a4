using Microsoft.ML;

namespace MLNetMultimodal.Tests;

/// <summary>What schemas are asked in tests.</summary>
static class SchemaChecks
{
    /// <summary>A whole number that stands beside a column.</summary>
    public static int Annotation(DataViewSchema.Column column, string name)
    {
        int value = 0;
        column.Annotations.GetValue(name, ref value);
        return value;
    }
}
