using SkiaSharp;

namespace QuickStart;

/// <summary>A picture that was found.</summary>
sealed record Found(string Path, string Name, float Score);

/// <summary>Draws queries with the pictures they found.</summary>
static class ContactSheet
{
    const int Side = 112, Gap = 16, TextScale = 2, Line = 22;

    /// <summary>Writes a PNG: a line of text and a line of pictures for each query.</summary>
    public static void Save(string path, IReadOnlyList<(string Query, Found[] Found)> rows)
    {
        int columns = rows.Max(r => r.Found.Length), rowHeight = Line + Side + 44 + Gap;
        using var sheet = new SKBitmap(Math.Max(Gap + columns * (Side + Gap), 680), Gap + rows.Count * rowHeight);
        using var canvas = new SKCanvas(sheet);
        canvas.Clear(SKColors.White);
        for (int row = 0; row < rows.Count; row++)
        {
            int top = Gap + row * rowHeight;
            Letters.Draw(canvas, rows[row].Query, Gap, top, TextScale, SKColors.Black);
            for (int column = 0; column < rows[row].Found.Length; column++)
            {
                Found found = rows[row].Found[column];
                int left = Gap + column * (Side + Gap);
                DrawPicture(canvas, found.Path, left, top + Line);
                string name = found.Name[..Math.Min(found.Name.Length, 10)];
                Letters.Draw(canvas, name, left, top + Line + Side + 6, TextScale, SKColors.DimGray);
                Letters.Draw(canvas, $"{found.Score:f3}", left, top + Line + Side + 26, TextScale, SKColors.SteelBlue);
            }
        }
        using SKData png = sheet.Encode(SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(path, png.ToArray());
    }

    static void DrawPicture(SKCanvas canvas, string path, int left, int top)
    {
        using SKBitmap picture = SKBitmap.Decode(path);
        float scale = Math.Min((float)Side / picture.Width, (float)Side / picture.Height);
        using var paint = new SKPaint { FilterQuality = scale > 1 ? SKFilterQuality.None : SKFilterQuality.Medium };
        canvas.DrawBitmap(picture, SKRect.Create(left, top, scale * picture.Width, scale * picture.Height), paint);
    }
}
